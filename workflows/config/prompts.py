"""The prompts in a config: the method, where they stand and where they start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from workflows.config.fields import Attentions, Count, Settings, Text, auto_or_count

if TYPE_CHECKING:
    from pipeline.prompts import Recipe


class PromptSettings(Settings):
    """The prompts: the method, and where they start."""

    method: Literal["deep", "prefix", "prompt_tuning", "p_tuning", "head", "hard"] = "deep"
    """deep: keys and values in each prompted layer (P-tuning v2); prefix: the same, through an MLP in training;
    prompt_tuning: vectors among the input embeddings; p_tuning: the same, anywhere, through an LSTM in training; head:
    no prompt, a linear head alone; hard: a template in words and label words, nothing trained."""
    encoder: Literal["auto", "identity", "mlp", "lstm", "bilstm+mlp"] = "auto"
    """The network that makes the prompts while they train; auto: the method's usual one."""
    place: Literal["front", "after_first", "end"] | None = None
    """Where an input prompt stands; front if there is no template either."""
    template: Text | None = None
    """What rows are put into: words, fields in braces, a mask: "{text} It was {mask}.", with p_tuning soft tokens, too:
    "{3} {text} {2} It was {mask}."; or where p_tuning's soft tokens stand, no more: "{2} text_a {2} text_b label"."""
    head: Literal["auto", "linear", "verbalizer"] = "auto"
    """What answers: a linear head, or the backbone's own words for the labels; auto: verbalizer for hard, else
    linear."""
    length: Count = 32
    """Places of the shared prompt."""
    first_layer: Annotated[Literal["auto"] | int, auto_or_count(0)] = "auto"
    """The lowest prompted layer; auto: 0."""
    init: Literal["vocabulary", "normal", "uniform", "text", "labels", "prompt"] = "vocabulary"
    """A fresh prompt starts from what the backbone makes of sampled tokens, of a text or of the class labels, from
    noise, or from another prompt."""
    attention: Attentions = "auto"
    """Of an encoder-decoder: which of its attentions deep prompts stand in; auto: the encoder's where heads read, all
    where a task writes."""
    text: Text | None = None
    """What `init: text` starts from."""
    source: Text | None = None
    """The artifact's folder that `init: prompt` starts from; relative to the config file."""

    @property
    def layout(self) -> str | None:
        """Where an input prompt stands, as `parse_layout` reads it; None for deep ones."""
        if self.deep:
            return None
        if self.worded is not None:
            return self.soft or self.place or "front"
        return self.template or self.place or "front"

    @property
    def worded(self) -> str | None:
        """The template that rows are put into; None where it says no more than where soft tokens stand."""
        from pipeline.tasks.encoding.template import is_worded

        return self.template if self.template is not None and is_worded(self.template) else None

    @property
    def soft(self) -> str | None:
        """The soft tokens of such a template: "{3} {2}"."""
        from pipeline.tasks.encoding.template import soft_of

        return None if self.worded is None else soft_of(self.worded)

    @property
    def answering(self) -> str:
        """What answers where the task does not say."""
        if self.head != "auto":
            return self.head
        return "verbalizer" if self.method == "hard" else "linear"

    @property
    def deep(self) -> bool:
        """Whether prompts stand in the layers, so that there are depths to search."""
        return self.method not in ("prompt_tuning", "p_tuning")

    @property
    def recipe(self) -> Recipe:
        """The choices as the library takes them."""
        from pipeline.prompts import METHODS, Recipe

        encoder = METHODS[self.method].encoders[0] if self.encoder == "auto" else self.encoder
        return Recipe(self.method, encoder, self.layout, self.text)
