"""deepprompt's library: tensors, data, files. It knows no Ray and no cluster.

Start with `pipeline/model/forward.py`: one frozen backbone, many prompts, one batch.
"""

__version__ = "0.1.0"
