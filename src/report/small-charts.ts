// Charts that are drawn once per layer, a few hundred bytes each: channels by importance, and histograms with their ranges.
import { formatDigits } from "./format-digits.ts";
import { type Html, html, trusted } from "./html.ts";
import type { HistogramReport } from "./report.ts";

const height = 48;

/** `label` is escaped. The drawing is stretched to the width that the page gives it. */
function drawing(label: string, width: number, content: string): Html {
  const box = `viewBox="0 0 ${width} ${height}" preserveAspectRatio="none"`;
  return html`${trusted(`<svg class="small" ${box} role="img" aria-label="`)}${label}${trusted(`">${content}</svg>`)}`;
}

const short = (value: number): string => String(Number(value.toFixed(2)));

interface Channel {
  readonly importance: number;
  /** Share of the steps in which it trained. */
  readonly trained: number;
}

const maxColumns = 96;

/** The most important first; neighbours are joined where there are more than fit. */
function sortedChannels(importance: readonly number[], trained: readonly number[]): readonly Channel[] {
  const channels = importance
    .map((value, i) => ({ importance: value, trained: trained[i] ?? 0 }))
    .sort((a, b) => b.importance - a.importance);
  const size = Math.ceil(channels.length / maxColumns);
  return Array.from({ length: Math.ceil(channels.length / size) }, (_, i) => {
    const part = channels.slice(i * size, (i + 1) * size);
    return {
      importance: part.reduce((sum, channel) => sum + channel.importance, 0) / part.length,
      trained: part.reduce((sum, channel) => sum + channel.trained, 0) / part.length,
    };
  });
}

/** 0: never trained; else the darkness of the mark, by the share of the steps. */
const strengths = [0, 0.4, 0.6, 0.8, 1] as const;
const strengthOf = ({ trained }: Channel): number => Math.ceil(trained * (strengths.length - 1));

/** EfQAT's Figure 3: importance of each output channel, and which of them trained. */
export function channelChart(name: string, importance: readonly number[], trained: readonly number[]): Html {
  const channels = sortedChannels(importance, trained);
  const max = Math.max(...channels.map((channel) => channel.importance), Number.MIN_VALUE);
  const column = (channel: Channel, i: number): string => {
    const tall = Math.max(0.5, (height * channel.importance) / max);
    return `M${short(i * 4)} ${height}v${short(-tall)}h3v${short(tall)}z`;
  };
  const paths = strengths.map((opacity, strength) => {
    const d = channels.map((channel, i) => (strengthOf(channel) === strength ? column(channel, i) : "")).join("");
    const paint = strength === 0 ? 'fill="var(--frozen)"' : `fill="var(--series-2)" fill-opacity="${opacity}"`;
    return d === "" ? "" : `<path d="${d}" ${paint}/>`;
  });
  return drawing(`Importance of the channels of ${name}`, channels.length * 4 - 1, paths.join(""));
}

const bandOf = (left: number, right: number, opacity: number): string =>
  `<path d="M${short(left)} 0H${short(right)}V${height}H${short(left)}z" fill="var(--series-2)" fill-opacity="${opacity}"/>`;
const edgeAt = (x: number): string =>
  `<path d="M${short(x)} 0V${height}" stroke="var(--series-2)" stroke-width="1.5" vector-effect="non-scaling-stroke"/>`;

/** What a histogram reaches from and to: the values and the quantizer's range. */
const endsOf = ({ min, max, range }: Pick<HistogramReport, "min" | "max" | "range">): readonly [number, number] => [
  Math.min(min, range?.widest.low ?? min),
  Math.max(max, range?.widest.high ?? max),
];

/** Heights are square roots of the counts, so that the tails show; behind them the range that the quantizer represents. */
export function histogramChart(what: string, { min, max, counts, range }: HistogramReport): Html {
  const [low, high] = endsOf({ min, max, range });
  const width = 240;
  const x = (value: number): number => (high > low ? (width * (value - low)) / (high - low) : width / 2);
  const tallest = Math.sqrt(Math.max(...counts, 1));
  const step = (x(max) - x(min)) / counts.length;
  const outline = counts.map((count, i) => {
    const top = count === 0 ? height : Math.min(height - 1, height - ((height - 2) * Math.sqrt(count)) / tallest);
    return `V${short(top)}H${short(x(min) + (i + 1) * step)}`;
  });
  const bars = `<path d="M${short(x(min))} ${height}${outline.join("")}V${height}z" fill="var(--series-1)"/>`;
  const bands = range
    ? [
        bandOf(x(range.widest.low), x(range.widest.high), 0.14),
        ...(range.narrowest.high === range.widest.high && range.narrowest.low === range.widest.low
          ? []
          : [bandOf(x(range.narrowest.low), x(range.narrowest.high), 0.2)]),
      ]
    : [];
  const edges = range ? [edgeAt(x(range.widest.low)), edgeAt(x(range.widest.high))] : [];
  return drawing(`Histogram of ${what}`, width, [...bands, bars, ...edges].join(""));
}

/** The caption of a histogram: its ends, and how much its quantizer clips. */
export function histogramLegend(histogram: HistogramReport): Html {
  const [low, high] = endsOf(histogram).map(signed);
  const clipped = histogram.range ? html`<span>${clippedText(histogram.range.clipped)}</span>` : "";
  return html`<span>${low}</span>${clipped}<span>${high}</span>`;
}

const signed = (value: number): string => (value === 0 ? "0" : formatDigits(value).replace("-", "−"));

function clippedText(share: number): string {
  if (share === 0) return "none clipped";
  return share < 1e-4 ? "< 0.01 % clipped" : `${(100 * share).toFixed(2)} % clipped`;
}
