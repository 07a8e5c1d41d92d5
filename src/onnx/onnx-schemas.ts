// What a node of each of ONNX's operators consists of, by the opset that says so. Written by scripts/write-onnx-schemas.py.

/**
 * A line each: operator, opset, inputs > outputs, attributes. 1 is an input that must be there, ? one that may be left out, + one or
 * more; after an attribute's name its type (f i s t, in capitals a list of them, x another), and ! where it must be there. gone: the opset took it away.
 */
export const onnxSchemas = `
Abs 7 1>1
Acos 7 1>1
Acosh 9 1>1
Add 7 11>1
And 7 11>1
ArgMax 7 1>1 axis:i keepdims:i
ArgMax 12 1>1 axis:i keepdims:i select_last_index:i
ArgMin 7 1>1 axis:i keepdims:i
ArgMin 12 1>1 axis:i keepdims:i select_last_index:i
Asin 7 1>1
Asinh 9 1>1
Atan 7 1>1
Atanh 9 1>1
Attention 23 111???>1??? is_causal:i kv_num_heads:i q_num_heads:i qk_matmul_output_mode:i scale:f softcap:f softmax_precision:i
Attention 24 111????>1??? is_causal:i kv_num_heads:i q_num_heads:i qk_matmul_output_mode:i scale:f softcap:f softmax_precision:i
AveragePool 7 1>1 auto_pad:s count_include_pad:i kernel_shape:I! pads:I strides:I
AveragePool 10 1>1 auto_pad:s ceil_mode:i count_include_pad:i kernel_shape:I! pads:I strides:I
AveragePool 19 1>1 auto_pad:s ceil_mode:i count_include_pad:i dilations:I kernel_shape:I! pads:I strides:I
BatchNormalization 7 11111>1???? epsilon:f momentum:f spatial:i
BatchNormalization 9 11111>1???? epsilon:f momentum:f
BatchNormalization 14 11111>1?? epsilon:f momentum:f training_mode:i
BitShift 11 11>1 direction:s!
BitwiseAnd 18 11>1
BitwiseNot 18 1>1
BitwiseOr 18 11>1
BitwiseXor 18 11>1
Cast 7 1>1 to:i!
Cast 19 1>1 saturate:i to:i!
Cast 24 1>1 round_mode:s saturate:i to:i!
CastLike 15 11>1
CastLike 19 11>1 saturate:i
CastLike 24 11>1 round_mode:s saturate:i
Ceil 7 1>1
Celu 12 1>1 alpha:f
Clip 7 1>1 max:f min:f
Clip 11 1??>1
Concat 7 +>1 axis:i!
Constant 7 ->1 value:t!
Constant 11 ->1 sparse_value:x value:t
Constant 12 ->1 sparse_value:x value:t value_float:f value_floats:F value_int:i value_ints:I value_string:s value_strings:S
ConstantOfShape 9 1>1 value:t
Conv 7 11?>1 auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
ConvInteger 10 11??>1 auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
ConvTranspose 7 11?>1 auto_pad:s dilations:I group:i kernel_shape:I output_padding:I output_shape:I pads:I strides:I
Cos 7 1>1
Cosh 9 1>1
CumSum 11 11>1 exclusive:i reverse:i
DepthToSpace 7 1>1 blocksize:i!
DepthToSpace 11 1>1 blocksize:i! mode:s
DequantizeLinear 10 11?>1
DequantizeLinear 13 11?>1 axis:i
DequantizeLinear 21 11?>1 axis:i block_size:i
DequantizeLinear 23 11?>1 axis:i block_size:i output_dtype:i
Div 7 11>1
Dropout 7 1>1? ratio:f
Dropout 12 1??>1? seed:i
Dropout 7 1>1? ratio:f
Dropout 12 1??>1? seed:i
DynamicQuantizeLinear 11 1>111
Einsum 12 +>1 equation:s!
Elu 7 1>1 alpha:f
Equal 7 11>1
Erf 9 1>1
Exp 7 1>1
Expand 8 11>1
Flatten 7 1>1 axis:i
Floor 7 1>1
Gather 7 11>1 axis:i
GatherElements 11 11>1 axis:i
GatherND 11 11>1
GatherND 12 11>1 batch_dims:i
Gelu 20 1>1 approximate:s
Gemm 7 111>1 alpha:f beta:f transA:i transB:i
Gemm 11 11?>1 alpha:f beta:f transA:i transB:i
GlobalAveragePool 7 1>1
GlobalLpPool 7 1>1 p:i
GlobalMaxPool 7 1>1
Greater 7 11>1
GreaterOrEqual 12 11>1
GroupNormalization 18 111>1 epsilon:f num_groups:i!
GroupNormalization 21 111>1 epsilon:f num_groups:i! stash_type:i
HardSigmoid 7 1>1 alpha:f beta:f
HardSwish 14 1>1
Hardmax 7 1>1 axis:i
Identity 7 1>1
InstanceNormalization 7 111>1 epsilon:f
IsInf 10 1>1 detect_negative:i detect_positive:i
IsNaN 9 1>1
LRN 7 1>1 alpha:f beta:f bias:f size:i!
LayerNormalization 17 11?>1?? axis:i epsilon:f stash_type:i
LeakyRelu 7 1>1 alpha:f
Less 7 11>1
LessOrEqual 12 11>1
Log 7 1>1
LogSoftmax 7 1>1 axis:i
LpNormalization 7 1>1 axis:i p:i
LpPool 7 1>1 auto_pad:s kernel_shape:I! p:i pads:I strides:I
LpPool 18 1>1 auto_pad:s ceil_mode:i dilations:I kernel_shape:I! p:i pads:I strides:I
MatMul 7 11>1
MatMulInteger 10 11??>1
Max 7 +>1
MaxPool 7 1>1 auto_pad:s kernel_shape:I! pads:I strides:I
MaxPool 8 1>1? auto_pad:s kernel_shape:I! pads:I storage_order:i strides:I
MaxPool 10 1>1? auto_pad:s ceil_mode:i dilations:I kernel_shape:I! pads:I storage_order:i strides:I
Mean 7 +>1
MeanVarianceNormalization 9 1>1 axes:I
Min 7 +>1
Mish 18 1>1
Mod 10 11>1 fmod:i
Mul 7 11>1
Neg 7 1>1
NonZero 9 1>1
Not 7 1>1
OneHot 9 111>1 axis:i
Or 7 11>1
PRelu 7 11>1
Pad 7 1>1 mode:s pads:I! value:f
Pad 11 11?>1 mode:s
Pad 18 11??>1 mode:s
Pow 7 11>1
QLinearConv 10 11111111?>1 auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
QLinearMatMul 10 11111111>1
QuantizeLinear 10 11?>1
QuantizeLinear 13 11?>1 axis:i
QuantizeLinear 19 11?>1 axis:i saturate:i
QuantizeLinear 21 11?>1 axis:i block_size:i output_dtype:i saturate:i
QuantizeLinear 23 11?>1 axis:i block_size:i output_dtype:i precision:i saturate:i
RMSNormalization 23 11>1 axis:i epsilon:f stash_type:i
Range 11 111>1
Reciprocal 7 1>1
ReduceL1 7 1>1 axes:I keepdims:i
ReduceL1 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceL2 7 1>1 axes:I keepdims:i
ReduceL2 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceLogSum 7 1>1 axes:I keepdims:i
ReduceLogSum 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceLogSumExp 7 1>1 axes:I keepdims:i
ReduceLogSumExp 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceMax 7 1>1 axes:I keepdims:i
ReduceMax 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceMean 7 1>1 axes:I keepdims:i
ReduceMean 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceMin 7 1>1 axes:I keepdims:i
ReduceMin 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceProd 7 1>1 axes:I keepdims:i
ReduceProd 18 1?>1 keepdims:i noop_with_empty_axes:i
ReduceSum 7 1>1 axes:I keepdims:i
ReduceSum 13 1?>1 keepdims:i noop_with_empty_axes:i
ReduceSumSquare 7 1>1 axes:I keepdims:i
ReduceSumSquare 18 1?>1 keepdims:i noop_with_empty_axes:i
Relu 7 1>1
Reshape 7 11>1
Reshape 14 11>1 allowzero:i
Resize 10 11>1 mode:s
Resize 11 111?>1 coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i extrapolation_value:f mode:s nearest_mode:s
Resize 13 1???>1 coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i extrapolation_value:f mode:s nearest_mode:s
Resize 18 1???>1 antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i extrapolation_value:f keep_aspect_ratio_policy:s mode:s nearest_mode:s
RotaryEmbedding 23 111?>1 interleaved:i num_heads:i rotary_embedding_dim:i
Round 11 1>1
Scatter 9 111>1 axis:i
Scatter 11 gone
ScatterElements 11 111>1 axis:i
ScatterElements 16 111>1 axis:i reduction:s
ScatterND 11 111>1
ScatterND 16 111>1 reduction:s
Selu 7 1>1 alpha:f gamma:f
Shape 7 1>1
Shape 15 1>1 end:i start:i
Shrink 9 1>1 bias:f lambd:f
Sigmoid 7 1>1
Sign 9 1>1
Sin 7 1>1
Sinh 9 1>1
Size 7 1>1
Slice 7 1>1 axes:I ends:I! starts:I!
Slice 10 111??>1
Softmax 7 1>1 axis:i
SoftmaxCrossEntropyLoss 12 11?>1? ignore_index:i reduction:s
Softplus 7 1>1
Softsign 7 1>1
SpaceToDepth 7 1>1 blocksize:i!
Split 7 1>+ axis:i split:I
Split 13 1?>+ axis:i
Split 18 1?>+ axis:i num_outputs:i
Sqrt 7 1>1
Squeeze 7 1>1 axes:I
Squeeze 13 1?>1
Sub 7 11>1
Sum 7 +>1
Swish 24 1>1 alpha:f
Tan 7 1>1
Tanh 7 1>1
ThresholdedRelu 10 1>1 alpha:f
Tile 7 11>1
TopK 7 1>11 axis:i k:i!
TopK 10 11>11 axis:i
TopK 11 11>11 axis:i largest:i sorted:i
Transpose 7 1>1 perm:I
Trilu 14 1?>1 upper:i
Unsqueeze 7 1>1 axes:I!
Unsqueeze 13 11>1
Upsample 7 1>1 mode:s scales:F!
Upsample 9 11>1 mode:s
Upsample 10 gone
Where 9 111>1
Xor 7 11>1
`;
