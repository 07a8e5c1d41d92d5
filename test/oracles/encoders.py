"""Writes encoders/: a small random checkpoint of each family of encoders, and what transformers gives.

    pip install torch transformers safetensors
    python3 test/oracles/encoders.py

Outputs are computed from the folder as it was written, in float32, and are compared where the attention mask is 1.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

root = Path(__file__).parent / "encoders"
ids = torch.tensor([[2, 7, 5, 3, 19, 11, 8, 5, 22, 14, 6, 9], [4, 4, 21, 8, 3, 16, 13, 6, 1, 1, 1, 1]])
mask = (torch.arange(12) < torch.tensor([[12], [8]])).long()
types = (torch.arange(12) >= torch.tensor([[5], [3]])).long()

common = dict(vocab_size=24, pad_token_id=1, bos_token_id=0, eos_token_id=2, initializer_range=0.3)
bert = dict(
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=32,
    layer_norm_eps=1e-12,
)

# name: (fields of the config, class, type of the weights, whether it takes token types)
cases = {
    "bert": (dict(model_type="bert", **bert), AutoModel, torch.float32, True),
    "bert-masked": (dict(model_type="bert", hidden_act="gelu_new", **bert), AutoModelForMaskedLM, torch.float16, True),
    "bert-classes": (
        dict(model_type="bert", num_labels=3, **bert),
        AutoModelForSequenceClassification,
        torch.float32,
        True,
    ),
    "bert-tokens": (
        dict(model_type="bert", num_labels=3, **bert),
        AutoModelForTokenClassification,
        torch.float32,
        True,
    ),
    "distilbert": (
        dict(model_type="distilbert", dim=16, hidden_dim=20, n_layers=2, n_heads=4, max_position_embeddings=32),
        AutoModel,
        torch.float32,
        False,
    ),
    "distilbert-classes": (
        dict(model_type="distilbert", dim=16, hidden_dim=20, n_layers=2, n_heads=4, num_labels=2, activation="relu"),
        AutoModelForSequenceClassification,
        torch.bfloat16,
        False,
    ),
    "roberta": (dict(model_type="roberta", type_vocab_size=1, **bert), AutoModel, torch.float32, False),
    "roberta-classes": (
        dict(model_type="roberta", type_vocab_size=1, num_labels=2, **bert),
        AutoModelForSequenceClassification,
        torch.float32,
        False,
    ),
    "xlm-roberta": (dict(model_type="xlm-roberta", type_vocab_size=1, **bert), AutoModel, torch.float32, False),
    "mpnet": (dict(model_type="mpnet", **bert), AutoModel, torch.float32, False),
    "mpnet-classes": (
        dict(model_type="mpnet", num_labels=2, **bert),
        AutoModelForSequenceClassification,
        torch.float32,
        False,
    ),
    "modernbert": (
        dict(
            model_type="modernbert",
            hidden_size=16,
            intermediate_size=20,
            num_hidden_layers=4,
            num_attention_heads=2,
            max_position_embeddings=64,
            global_attn_every_n_layers=3,
            local_attention=6,
            cls_token_id=2,
            sep_token_id=3,
        ),
        AutoModel,
        torch.float32,
        False,
    ),
    "modernbert-classes": (
        dict(
            model_type="modernbert",
            hidden_size=16,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            attention_bias=True,
            mlp_bias=True,
            norm_bias=True,
            classifier_pooling="mean",
            classifier_bias=True,
            num_labels=3,
            cls_token_id=2,
            sep_token_id=3,
        ),
        AutoModelForSequenceClassification,
        torch.float32,
        False,
    ),
}


def randomize(model):
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.data = 1 + 0.3 * noise
        else:
            parameter.data = noise * (0.4 if parameter.dim() == 2 else 0.3)


for name, (given, auto, dtype, has_types) in cases.items():
    torch.manual_seed(len(name))
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = AutoConfig.for_model(**{**common, **given})
    model = auto.from_config(config, attn_implementation="eager")
    randomize(model)
    model.to(dtype).save_pretrained(folder)
    fields = {key: value for key, value in config.to_dict().items() if value is not None}
    fields["architectures"] = [type(model).__name__]
    for key in ["transformers_version", "dtype", "initializer_range"]:
        fields.pop(key, None)
    (folder / "config.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
    reader = AutoModel if auto is AutoModelForMaskedLM else auto
    loaded = reader.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    inputs = dict(input_ids=ids, attention_mask=mask, **(dict(token_type_ids=types) if has_types else {}))
    with torch.no_grad():
        outputs = loaded(**inputs)
    kind = "logits" if "logits" in outputs else "last_hidden_state"
    save_file({**inputs, kind: outputs[kind].contiguous()}, folder / "expected.safetensors")
    print(name, kind, float(outputs[kind].std()), sum(f.stat().st_size for f in folder.iterdir()), type(loaded).__name__)
