// Options of the library as flags of the command.

/** `updateRatio` → `--update-ratio` */
export const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
