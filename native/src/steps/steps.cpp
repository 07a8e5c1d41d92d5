#include "steps.h"

namespace frostbit {

MakeStep step_maker(const std::string& kernel) {
  static const StepMakers makers = [] {
    StepMakers all;
    for (const auto& family : {elementwise_steps(),     data_steps(),
                               quantization_steps(),    group_quantization_steps(),
                               fused_steps(),           convolution_steps(),
                               product_steps(),         reduction_steps(),
                               pooling_steps(),         update_steps(),
                               weight_gradient_steps(), winograd_steps(),
                               typed_steps(),           indexing_steps(),
                               ordering_steps(),        row_steps(),
                               einsum_steps(),          stored_steps(),
                               window_steps(),          attention_steps(),
                               dynamic_product_steps(), dynamic_input_gradient_steps()})
      all.insert(family.begin(), family.end());
    return all;
  }();
  const auto found = makers.find(kernel);
  return found == makers.end() ? nullptr : found->second;
}

}  // namespace frostbit
