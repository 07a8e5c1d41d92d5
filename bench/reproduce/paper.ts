// What the EfQAT paper (arXiv:2411.11038) prints of ResNet-20 on CIFAR-10: top-1 in per cent, mean and deviation of three seeds.
import type { QparamTraining } from "../../src/training/qparam-training.ts";

/** Mean and deviation. */
export type Printed = readonly [mean: number, deviation: number];

export type Mode = "cwpl" | "cwpn" | "lwpn";
export type Bits = "w8a8" | "w4a8" | "w4a4";

export const modes: readonly Mode[] = ["cwpl", "cwpn", "lwpn"];
/** Update ratios of Table 4 in per cent; 0 is the same for all modes. */
export const ratios = [0, 5, 10, 25, 50] as const;

/** Table 3. */
export const float = 91.71;
export const floatPlusOneEpoch = 91.74;

interface Accuracies {
  /** Table 3. */
  readonly ptq: Printed;
  readonly zero: Printed;
  /** 5, 10, 25 and 50 %. */
  readonly modes: Readonly<Record<Mode, readonly Printed[]>>;
  readonly qat: Printed;
}

/** Tables 3 and 4. The row that Table 4 labels "ResNet-50 W4A4", with PTQ 80.75, is ResNet-20's. */
export const accuracies: Readonly<Record<Bits, Accuracies>> = {
  w8a8: {
    ptq: [91.69, 0.03],
    zero: [91.71, 0.04],
    modes: {
      cwpl: [
        [91.72, 0.07],
        [91.74, 0.04],
        [91.75, 0.05],
        [91.71, 0.02],
      ],
      cwpn: [
        [91.73, 0.01],
        [91.7, 0.07],
        [91.75, 0.06],
        [91.72, 0.02],
      ],
      lwpn: [
        [91.68, 0.04],
        [91.69, 0.03],
        [91.7, 0.01],
        [91.7, 0.06],
      ],
    },
    qat: [91.72, 0.05],
  },
  w4a8: {
    ptq: [88.17, 0.07],
    zero: [91.12, 0.04],
    modes: {
      cwpl: [
        [91.14, 0.15],
        [91.22, 0.07],
        [91.25, 0.07],
        [91.24, 0.13],
      ],
      cwpn: [
        [91.19, 0.11],
        [91.16, 0.1],
        [91.35, 0.11],
        [91.32, 0.11],
      ],
      lwpn: [
        [91.21, 0.04],
        [91.24, 0.03],
        [91.32, 0.07],
        [91.41, 0.1],
      ],
    },
    qat: [91.45, 0.14],
  },
  w4a4: {
    ptq: [80.75, 0.41],
    zero: [87.23, 0.34],
    modes: {
      cwpl: [
        [87.66, 0.21],
        [87.59, 0.23],
        [87.85, 0.31],
        [87.79, 0.13],
      ],
      cwpn: [
        [87.5, 0.21],
        [87.78, 0.19],
        [87.86, 0.21],
        [87.97, 0.2],
      ],
      lwpn: [
        [87.24, 0.14],
        [87.6, 0.28],
        [87.89, 0.07],
        [88.35, 0.08],
      ],
    },
    qat: [88.28, 0.37],
  },
};

/** Table 5: seconds of backward per epoch at 0, 5, 10 and 25 %, and of QAT; selecting again every 16,384 samples. */
export const backwardSeconds = {
  A10: { cwpn: [2.61, 3.46, 3.92, 4.92], lwpn: [2.61, 2.87, 3.38, 3.77], qat: 4.23 },
  A100: { cwpn: [3.73, 5.69, 7.1, 9.98], lwpn: [3.73, 4.02, 4.08, 4.86], qat: 6.22 },
} as const;

/** Table 6: CWPN at W8A8, by the samples between two selections, at 5, 10, 25 and 50 %. Its first row is Table 4's. */
export const intervals: Readonly<Record<number, readonly Printed[]>> = {
  128: [
    [91.73, 0.01],
    [91.7, 0.07],
    [91.75, 0.06],
    [91.72, 0.02],
  ],
  8192: [
    [91.73, 0.03],
    [91.7, 0.04],
    [91.72, 0.07],
    [91.74, 0.03],
  ],
  16384: [
    [91.71, 0.05],
    [91.66, 0.06],
    [91.68, 0.04],
    [91.72, 0.01],
  ],
};

export interface QparamRow {
  readonly training: QparamTraining;
  readonly learningRate: number;
  /** At 0, 5, 10 and 25 %. */
  readonly printed: readonly Printed[];
}

/** Table 7. The paper does not say its bits; its figures are those of CWPN at W4A8. */
export const qparamTrainings: readonly QparamRow[] = [
  {
    training: "direct",
    learningRate: 1e-6,
    printed: [
      [91.13, 0.08],
      [91.1, 0.12],
      [91.17, 0.13],
      [91.32, 0.19],
    ],
  },
  {
    training: "direct",
    learningRate: 1e-4,
    printed: [
      [91.19, 0.13],
      [91.26, 0.16],
      [91.34, 0.06],
      [91.29, 0.09],
    ],
  },
  {
    training: "log2",
    learningRate: 1e-6,
    printed: [
      [91.14, 0.1],
      [91.11, 0.13],
      [91.17, 0.15],
      [91.34, 0.18],
    ],
  },
  {
    training: "log2",
    learningRate: 1e-4,
    printed: [
      [91.13, 0.09],
      [91.26, 0.12],
      [91.21, 0.11],
      [91.32, 0.19],
    ],
  },
];
