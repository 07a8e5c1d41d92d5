// Elementary functions in loops of machine code, operation for operation what vector-math.h computes.
#pragma once
#include "loop-code.h"

namespace frostbit {

LoopMaker::Value exp_in(LoopMaker& loop, LoopMaker::Value v);
LoopMaker::Value sigmoid_in(LoopMaker& loop, LoopMaker::Value v);
LoopMaker::Value tanh_in(LoopMaker& loop, LoopMaker::Value v);
LoopMaker::Value erf_in(LoopMaker& loop, LoopMaker::Value v);
LoopMaker::Value gelu_in(LoopMaker& loop, LoopMaker::Value v);
LoopMaker::Value gelu_tanh_in(LoopMaker& loop, LoopMaker::Value v);

}  // namespace frostbit
