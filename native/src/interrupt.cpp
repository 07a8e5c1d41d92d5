#include "interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

// Handlers call nothing but what POSIX allows in them.
namespace frostbit {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};
struct sigaction previous[2];
timer_t timer;
std::atomic<bool> has_timer{false};
std::atomic<bool> has_begun{false};
std::atomic<long> limit{-1};
/** Ends with a null. Lists are never freed: a handler may be reading one. */
std::atomic<char**> removed{nullptr};

[[noreturn]] void end(int code) {
  for (char** path = removed.load(); path != nullptr && *path != nullptr; path++) unlink(*path);
  _exit(code);
}

void on_timer(int) { end(128 + SIGINT); }

void on_signal(int number, siginfo_t* info, void* context) {
  const struct sigaction& before = previous[number == SIGTERM ? 1 : 0];
  const long milliseconds = limit.load();
  if (milliseconds == 0) end(128 + number);
  if (milliseconds > 0 && !has_begun.exchange(true)) {
    struct itimerspec in {};
    in.it_value.tv_sec = milliseconds / 1000;
    in.it_value.tv_nsec = milliseconds % 1000 * 1000000;
    timer_settime(timer, 0, &in, nullptr);
  }
  if (before.sa_flags & SA_SIGINFO)
    before.sa_sigaction(number, info, context);
  else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
    before.sa_handler(number);
}

bool make_timer() {
  if (has_timer.load()) return true;
  struct sigaction action {};
  action.sa_handler = on_timer;
  sigfillset(&action.sa_mask);
  if (sigaction(SIGALRM, &action, nullptr) != 0) return false;
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return false;
  has_timer.store(true);
  return true;
}

}  // namespace

void remove_at_signal(const std::vector<std::string>& paths) {
  char** list = static_cast<char**>(std::calloc(paths.size() + 1, sizeof(char*)));
  for (size_t i = 0; list != nullptr && i < paths.size(); i++) list[i] = strdup(paths[i].c_str());
  removed.store(list);
}

void end_after_signal(long milliseconds) {
  limit.store(make_timer() ? milliseconds : -1);
  for (int i = 0; i < 2; i++) {
    struct sigaction current {};
    if (sigaction(kSignals[i], nullptr, &current) != 0) continue;
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_signal) continue;
    previous[i] = current;
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | (current.sa_flags & SA_ONSTACK);
    sigfillset(&action.sa_mask);
    sigaction(kSignals[i], &action, nullptr);
  }
}

}  // namespace frostbit
