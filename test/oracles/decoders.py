"""Writes decoders/: a small random checkpoint of each family, and the logits that transformers gives.

    pip install torch transformers safetensors
    python3 test/oracles/decoders.py

The logits are computed from the folder as it was written, in float32.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

root = Path(__file__).parent / "decoders"
ids = torch.tensor([[1, 7, 3, 3, 19, 11, 0, 5, 22, 14, 2, 9], [4, 4, 21, 8, 1, 16, 13, 6, 10, 18, 23, 2]])

common = dict(
    vocab_size=24,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    use_cache=False,
)

llama3 = dict(
    rope_type="llama3",
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)

# name: (fields of the config, fields that replace rope_parameters as older files have them, type of the weights, shards)
cases = {
    "llama": (
        dict(
            model_type="llama",
            head_dim=8,
            rope_parameters=dict(rope_theta=100.0, **llama3),
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
        ),
        None,
        torch.float32,
        3,
    ),
    "llama-linear": (
        dict(model_type="llama", num_key_value_heads=4),
        dict(rope_theta=50.0, rope_scaling=dict(type="linear", factor=2.0)),
        torch.float16,
        1,
    ),
    "mistral": (dict(model_type="mistral", head_dim=6, sliding_window=4), dict(rope_theta=100.0), torch.bfloat16, 1),
    "qwen2": (
        dict(
            model_type="qwen2",
            use_sliding_window=True,
            sliding_window=5,
            max_window_layers=1,
            rope_parameters=dict(rope_type="default", rope_theta=100.0),
        ),
        None,
        torch.bfloat16,
        1,
    ),
    "qwen3": (dict(model_type="qwen3", head_dim=6), dict(rope_theta=100.0), torch.bfloat16, 1),
    "smollm3": (
        dict(
            model_type="smollm3",
            num_hidden_layers=3,
            no_rope_layers=[1, 0, 1],
            rope_parameters=dict(rope_type="default", rope_theta=100.0),
        ),
        None,
        torch.bfloat16,
        1,
    ),
    "gemma2": (
        dict(
            model_type="gemma2",
            head_dim=6,
            sliding_window=4,
            query_pre_attn_scalar=10,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            hidden_activation="gelu_pytorch_tanh",
        ),
        dict(rope_theta=100.0),
        torch.bfloat16,
        1,
    ),
    "gemma3": (
        dict(
            model_type="gemma3_text",
            num_hidden_layers=3,
            head_dim=6,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            query_pre_attn_scalar=7,
            hidden_activation="gelu_pytorch_tanh",
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=400.0),
                sliding_attention=dict(rope_type="default", rope_theta=20.0),
            ),
        ),
        None,
        torch.bfloat16,
        1,
    ),
    "gemma3-older": (
        dict(
            model_type="gemma3_text",
            num_hidden_layers=2,
            head_dim=6,
            sliding_window=4,
            query_pre_attn_scalar=7,
            hidden_activation="gelu_pytorch_tanh",
        ),
        dict(
            rope_theta=400.0,
            rope_local_base_freq=20.0,
            rope_scaling=dict(rope_type="linear", factor=8.0),
            sliding_window_pattern=2,
        ),
        torch.bfloat16,
        1,
    ),
    "phi3": (
        dict(
            model_type="phi3",
            head_dim=8,
            sliding_window=4,
            partial_rotary_factor=0.5,
            original_max_position_embeddings=32,
            tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5),
        ),
        None,
        torch.bfloat16,
        1,
    ),
}


def randomize(model):
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if "norm" in name:
            parameter.data = parameter.data + 0.3 * noise
        else:
            parameter.data = noise * (0.4 if parameter.dim() == 2 else 0.3)


def write_config(folder, config, older):
    fields = {key: value for key, value in config.to_dict().items() if value is not None}
    for key in ["transformers_version", "dtype", "architectures"]:
        fields.pop(key, None)
    if older is not None:
        for key in ["rope_parameters", "layer_types"]:
            fields.pop(key, None)
        fields.update(older)
    (folder / "config.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")


for name, (given, older, dtype, shards) in cases.items():
    torch.manual_seed(len(name))
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fields = {**common, **given, **(older or {})}
    config = AutoConfig.for_model(**fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomize(model)
    model.to(dtype).save_pretrained(folder, max_shard_size="12KB" if shards > 1 else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_config(folder, config, older)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = loaded(ids).logits
    save_file({"ids": ids, "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(name, float(logits.std()), sum(f.stat().st_size for f in folder.iterdir()), type(loaded).__name__)
