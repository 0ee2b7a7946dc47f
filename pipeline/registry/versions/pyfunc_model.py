"""An artifact as a plain MLflow model.

MLflow runs this file when it logs a model and again when it loads one, and wants the model made at its top level;
nothing else imports it. So the caller needs only the installed package:

    mlflow.pyfunc.load_model("models:/deepprompt.intent@champion").predict(dataframe)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd

from pipeline.registry import Predictor, load_artifact, open_backbone


class PromptModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers the rows of a table with one artifact; the models of a process share their backbone."""

    def load_context(self, context: Any) -> None:
        """Checks the artifact, then opens the backbone its manifest names, which is not part of the model."""
        artifact = load_artifact(Path(context.artifacts["prompt"]))
        self.name = artifact.manifest.name
        self.predictor = Predictor(open_backbone(artifact.manifest.backbone), {self.name: artifact})

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """A row of answers per row of input.

        Args:
            model_input: a table with the input columns of the task's type (`TaskType.inputs`).

        Returns:
            A column for each field of `TaskType.tell`.
        """
        rows = [_row(record) for record in model_input.to_dict(orient="records")]
        answers = self.predictor.predict([{**row, "task": self.name} for row in rows])
        return pd.DataFrame(answers, index=model_input.index)


def _row(record: Mapping[Any, Any]) -> dict[str, Any]:
    """A record without its empty cells, arrays as lists."""
    row = {}
    for column, value in record.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(plain, Sequence) or not pd.isna(plain):
            row[str(column)] = plain
    return row


mlflow.models.set_model(PromptModel())
