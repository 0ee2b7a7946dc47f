"""An artifact as a plain MLflow model: what MLflow calls when it loads one.

A logged model names this module as its loader, so nothing is pickled, no code lies in the registry, and a caller needs
only the installed package:

    mlflow.pyfunc.load_model("models:/deepprompt.intent@champion").predict(dataframe)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.registry import Predictor, load_artifact, open_backbone

if TYPE_CHECKING:
    import pandas as pd


class PromptModel:
    """Answers the rows of a table with one artifact; the models of a process share their backbone.

    Args:
        folder: the artifact's. The backbone that its manifest names is not part of the model.
    """

    def __init__(self, folder: Path) -> None:
        artifact = load_artifact(folder)
        self.name = artifact.manifest.name
        self.predictor = Predictor(open_backbone(artifact.manifest.backbone), {self.name: artifact})

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """A row of answers per row of input.

        Args:
            model_input: a table with the input columns of the task's type (`TaskType.inputs`).

        Returns:
            A column for each field of `TaskType.tell`.
        """
        import pandas as pd

        rows = [_row(record) for record in model_input.to_dict(orient="records")]
        answers = self.predictor.predict([{**row, "task": self.name} for row in rows])
        return pd.DataFrame(answers, index=model_input.index)


def _load_pyfunc(data_path: str) -> PromptModel:
    """What MLflow calls of the module that a model names as its loader."""
    return PromptModel(Path(data_path))


def _row(record: Mapping[Any, Any]) -> dict[str, Any]:
    """A record without its empty cells, arrays as lists."""
    import pandas as pd

    row = {}
    for column, value in record.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(plain, Sequence) or not pd.isna(plain):
            row[str(column)] = plain
    return row
