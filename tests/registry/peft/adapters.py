"""Adapters that PEFT itself makes on tiny random backbones, its answers, and ours for the same rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from pipeline.backbone import load_backbone
from pipeline.registry import Predictor
from pipeline.registry.peft import Wanted, import_adapter, read_adapter
from pipeline.tasks import collate
from tests.families import family_backbone
from tests.tiny import WORDS, _model, _tokenizer, tiny_backbone

FAMILIES = ("bert", "roberta", "gpt2", "llama")
DECODERS = ("gpt2", "llama")
PLACES = 4
LABELS = ("cancel", "order", "refund")
ROWS = [[2, 11, 7, 9, 15, 3], [2, 8, 3], [2, 30, 31, 6, 3]]
"""Token ids of unequal lengths: shorter ones are padded on the right."""
KINDS = {
    "prefix": ("PrefixTuningConfig", {}),
    "prefix through its MLP": ("PrefixTuningConfig", {"prefix_projection": True, "encoder_hidden_size": 8}),
    "prompt_tuning": ("PromptTuningConfig", {}),
    "p_tuning": ("PromptEncoderConfig", {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 8}),
}
CLASSES = {"SEQ_CLS": "SequenceClassification", "TOKEN_CLS": "TokenClassification", "QUESTION_ANS": "QuestionAnswering"}


@cache
def base_of(family: str) -> Path:
    """The family's tiny folder; BERT's with a pooler, which PEFT's sentence heads read."""
    if family != "bert":
        return tiny_backbone(family) if family in DECODERS else family_backbone(family)
    from transformers import BertConfig, BertModel

    folder = Path(mkdtemp(prefix="tiny-pooled-"))
    _tokenizer().save_pretrained(folder)
    torch.manual_seed(7)
    model = BertModel(BertConfig.from_pretrained(tiny_backbone("bert")))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    return folder


@cache
def byte_level_base() -> Path:
    """A tiny GPT-2 with a tokenizer as its own, which knows a word's beginning by the blank before it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=letters, special_tokens=["<|endoftext|>"], show_progress=False
    )
    own.train_from_iterator([" ".join(WORDS)] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|endoftext|>")
    folder = Path(mkdtemp(prefix="tiny-byte-level-"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    model = _model("gpt2", len(tokenizer))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    return folder


@cache
def backbone_at(folder: Path):
    return load_backbone(str(folder))


def peft_model(base, task_type, kind, *, places=PLACES, labels=3):
    """A PEFT model with an adapter as large as trained ones, so that a mistake shows in the answers."""
    import peft
    import transformers

    transformers.logging.set_verbosity_error()
    sizes = {} if task_type == "QUESTION_ANS" else {"num_labels": labels}
    model = getattr(transformers, f"AutoModelFor{CLASSES[task_type]}").from_pretrained(base, **sizes)
    model.config.pad_token_id = 0
    name, settings = KINDS[kind]
    config = getattr(peft, name)(task_type=task_type, num_virtual_tokens=places, **settings)
    torch.manual_seed(3)
    made = peft.get_peft_model(model, config).eval()
    for own, parameter in made.named_parameters():
        if parameter.requires_grad and "prompt_encoder" not in own:
            parameter.data.normal_(0.0, 0.3)
    return made


def imported(folder, into, **facts):
    """The artifact of an adapter's folder; its labels are those here unless it is told."""
    return import_adapter(read_adapter(folder), into, Wanted(**{"task": "intent", "labels": LABELS, **facts}))


def model_of(artifact, backbone):
    """The forward pass that answers for an artifact in service."""
    return Predictor(backbone, {artifact.manifest.name: artifact})._group.model


@torch.no_grad()
def peft_logits(model, rows=ROWS, *, places=0):
    """PEFT's logits of each row, [C] or [T_row, C], in one padded batch; the first `places` of its tokens are soft."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    out = model(input_ids=ids, attention_mask=mask)
    logits = torch.stack([out.start_logits, out.end_logits], dim=-1) if hasattr(out, "start_logits") else out.logits
    if logits.dim() == 2:
        return list(logits)
    return [own[places : places + len(row)] for own, row in zip(logits, rows, strict=True)]


@torch.no_grad()
def our_logits(artifact, backbone, rows=ROWS, *, tokens=False):
    """The same of ours, in one batch: of each row's every token, or of each row."""
    plain = [
        {"input_ids": row, "answer": (at := list(range(len(row))) if tokens else [0]), "labels": [0] * len(at)}
        for row in rows
    ]
    if artifact.manifest.task.type == "qa":
        plain = [{**one, "targets": [0.0] * 2 * len(one["answer"])} for one in plain]
    index = [0] * len(rows)
    answers = model_of(artifact, backbone)(collate(plain, prompt=index, head=index, pad_token_id=0))
    (logits,) = answers.logits
    return list(logits.split([len(one["answer"]) for one in plain])) if tokens else list(logits)
