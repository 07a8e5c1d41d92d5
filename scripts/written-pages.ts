// Every page of docs/ that is written from the code, but for docs/api/, which TypeDoc writes.
import { commandsPage, optionsPage } from "./command-pages.ts";
import { methodPages } from "./method-pages.ts";
import { reportPage } from "./report-page.ts";

/** Paths within docs/ and their texts; `read` gives a file of the repository. */
export const writtenPages = (read: (path: string) => string): ReadonlyMap<string, string> =>
  new Map([
    ...methodPages(read),
    ["commands.md", commandsPage()],
    ["options.md", optionsPage()],
    ["report.md", reportPage()],
  ]);
