// MPI for JavaScript, as little of it as there can be: this process among all, messages that are begun and asked for, and the
// end of all. The main thread makes all calls, none of which waits.
#include <mpi.h>
#include <napi.h>

#include <memory>
#include <string>

namespace {

void check(Napi::Env env, int code) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Napi::Error::New(env, std::string(text, length));
}

/** A message that is under way, and what keeps its bytes. */
class Message : public Napi::ObjectWrap<Message> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Message", {InstanceMethod("isDone", &Message::is_done)});
  }

  explicit Message(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const bool is_sent = info[0].As<Napi::Boolean>();
    const int peer = info[1].As<Napi::Number>();
    const int channel = info[2].As<Napi::Number>();
    auto bytes = info[3].As<Napi::Uint8Array>();
    bytes_ = Napi::Persistent(bytes.As<Napi::Object>());
    const int length = static_cast<int>(bytes.ByteLength());
    check(info.Env(), is_sent ? MPI_Isend(bytes.Data(), length, MPI_BYTE, peer, channel, MPI_COMM_WORLD, &request_)
                              : MPI_Irecv(bytes.Data(), length, MPI_BYTE, peer, channel, MPI_COMM_WORLD, &request_));
    // Until it is done, nobody frees it.
    Ref();
  }

 private:
  Napi::Value is_done(const Napi::CallbackInfo& info) {
    if (is_done_) return Napi::Boolean::New(info.Env(), true);
    int done = 0;
    check(info.Env(), MPI_Test(&request_, &done, MPI_STATUS_IGNORE));
    if (done != 0) {
      is_done_ = true;
      bytes_.Reset();
      Unref();
    }
    return Napi::Boolean::New(info.Env(), is_done_);
  }

  MPI_Request request_ = MPI_REQUEST_NULL;
  Napi::ObjectReference bytes_;
  bool is_done_ = false;
};

Napi::Value start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int provided = 0;
  check(env, MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  check(env, MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  int rank = 0;
  int size = 0;
  check(env, MPI_Comm_rank(MPI_COMM_WORLD, &rank));
  check(env, MPI_Comm_size(MPI_COMM_WORLD, &size));
  char version[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  check(env, MPI_Get_library_version(version, &length));
  Napi::Object result = Napi::Object::New(env);
  result.Set("rank", rank);
  result.Set("size", size);
  result.Set("library", std::string(version, length));
  return result;
}

/** The sender of a message that was not received yet, or −1. */
Napi::Value waiting(const Napi::CallbackInfo& info) {
  int found = 0;
  MPI_Status status;
  check(info.Env(), MPI_Iprobe(MPI_ANY_SOURCE, info[0].As<Napi::Number>(), MPI_COMM_WORLD, &found, &status));
  return Napi::Number::New(info.Env(), found != 0 ? status.MPI_SOURCE : -1);
}

void finish(const Napi::CallbackInfo& info) { check(info.Env(), MPI_Finalize()); }

/** Ends all processes of the run, this one with the code. */
void abort_all(const Napi::CallbackInfo& info) { MPI_Abort(MPI_COMM_WORLD, info[0].As<Napi::Number>()); }

Napi::Object define(Napi::Env env, Napi::Object exports) {
  exports.Set("Message", Message::define(env));
  exports.Set("start", Napi::Function::New(env, start));
  exports.Set("waiting", Napi::Function::New(env, waiting));
  exports.Set("finish", Napi::Function::New(env, finish));
  exports.Set("abort", Napi::Function::New(env, abort_all));
  return exports;
}

}  // namespace

NODE_API_MODULE(mpi, define)
