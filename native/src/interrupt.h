// Ctrl-C while the main thread computes outside JavaScript, in ONNX Runtime say, which no listener of JavaScript's hears.
#pragma once

#include <string>
#include <vector>

namespace frostbit {

/**
 * After SIGINT or SIGTERM the process ends in so many milliseconds, 0: at once, unless it has ended by then. Below 0: only
 * listeners end it. They hear of the signal; to be called again after one was added.
 */
void end_after_signal(long milliseconds);

/** The files that it then removes, instead of those named before. */
void remove_at_signal(const std::vector<std::string>& paths);

}  // namespace frostbit
