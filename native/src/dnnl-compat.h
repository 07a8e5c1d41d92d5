// What differs between oneDNN 2 and 3: how primitive descriptors are made.
#pragma once
#include <oneapi/dnnl/dnnl.hpp>

namespace frostbit {

struct ConvolutionWindow {
  dnnl::memory::dims strides, dilations, pads_begin, pads_end;
};

#if DNNL_VERSION_MAJOR >= 3

/** A zero point of x that is known only at the run. */
inline void set_source_zero_point(dnnl::primitive_attr& attributes) { attributes.set_zero_points_mask(DNNL_ARG_SRC, 0); }

inline dnnl::convolution_forward::primitive_desc convolution_forward_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& x,
    const dnnl::memory::desc& w, const dnnl::memory::desc* bias, const dnnl::memory::desc& y, const ConvolutionWindow& window) {
  const auto kind = dnnl::prop_kind::forward_training;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto& [strides, dilations, begin, end] = window;
  if (bias) return {engine, kind, algorithm, x, w, *bias, y, strides, dilations, begin, end, attributes};
  return {engine, kind, algorithm, x, w, y, strides, dilations, begin, end, attributes};
}

inline dnnl::convolution_backward_data::primitive_desc convolution_backward_data_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& dx,
    const dnnl::memory::desc& w, const dnnl::memory::desc& dy, const ConvolutionWindow& window,
    const dnnl::convolution_forward::primitive_desc& hint) {
  const auto& [strides, dilations, begin, end] = window;
  return {engine, dnnl::algorithm::convolution_direct, dx, w, dy, strides, dilations, begin, end, hint, attributes};
}

inline dnnl::convolution_backward_weights::primitive_desc convolution_backward_weights_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& x,
    const dnnl::memory::desc& dw, const dnnl::memory::desc& dy, const ConvolutionWindow& window,
    const dnnl::convolution_forward::primitive_desc& hint) {
  const auto& [strides, dilations, begin, end] = window;
  return {engine, dnnl::algorithm::convolution_direct, x, dw, dy, strides, dilations, begin, end, hint, attributes};
}

inline dnnl::matmul::primitive_desc matmul_of(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                              const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                              const dnnl::memory::desc& y) {
  return {engine, a, b, y, attributes};
}

#else

/** A zero point of x that is known only at the run. */
inline void set_source_zero_point(dnnl::primitive_attr& attributes) {
  attributes.set_zero_points(DNNL_ARG_SRC, 0, {DNNL_RUNTIME_S32_VAL});
}

inline dnnl::convolution_forward::primitive_desc convolution_forward_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& x,
    const dnnl::memory::desc& w, const dnnl::memory::desc* bias, const dnnl::memory::desc& y, const ConvolutionWindow& window) {
  using Description = dnnl::convolution_forward::desc;
  const auto kind = dnnl::prop_kind::forward_training;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto& [strides, dilations, begin, end] = window;
  const Description description = bias ? Description(kind, algorithm, x, w, *bias, y, strides, dilations, begin, end)
                                       : Description(kind, algorithm, x, w, y, strides, dilations, begin, end);
  return {description, attributes, engine};
}

inline dnnl::convolution_backward_data::primitive_desc convolution_backward_data_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& dx,
    const dnnl::memory::desc& w, const dnnl::memory::desc& dy, const ConvolutionWindow& window,
    const dnnl::convolution_forward::primitive_desc& hint) {
  const auto& [strides, dilations, begin, end] = window;
  const dnnl::convolution_backward_data::desc description(dnnl::algorithm::convolution_direct, dx, w, dy, strides, dilations,
                                                          begin, end);
  return {description, attributes, engine, hint};
}

inline dnnl::convolution_backward_weights::primitive_desc convolution_backward_weights_of(
    const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const dnnl::memory::desc& x,
    const dnnl::memory::desc& dw, const dnnl::memory::desc& dy, const ConvolutionWindow& window,
    const dnnl::convolution_forward::primitive_desc& hint) {
  const auto& [strides, dilations, begin, end] = window;
  const dnnl::convolution_backward_weights::desc description(dnnl::algorithm::convolution_direct, x, dw, dy, strides, dilations,
                                                             begin, end);
  return {description, attributes, engine, hint};
}

inline dnnl::matmul::primitive_desc matmul_of(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                              const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                              const dnnl::memory::desc& y) {
  return {dnnl::matmul::desc(a, b, y), attributes, engine};
}

#endif

}  // namespace frostbit
