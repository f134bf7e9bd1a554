"""Data sets of the Hugging Face hub, streamed by `datasets`: nothing is kept on disk but its small metadata."""

from __future__ import annotations

from collections.abc import Iterator

from workflow_scripts.corpora import containers
from workflow_scripts.corpora.records import Document, Unreadable
from workflow_scripts.corpora.sources import HubSource
from workflow_scripts.errors import CorpusError


def read(source: HubSource) -> Iterator[Document]:
    """A document a row; ids are `<name>:<split>:<row>`, from 1.

    Raises CorpusError if the data set, its revision, split or column does not exist, cannot be reached, or breaks off.
    """
    from datasets import load_dataset  # takes a second, and no other kind needs it

    number, where = 0, f"{source.name}:{source.split}"
    try:
        rows = load_dataset(source.name, source.config, split=source.split, revision=source.revision, streaming=True)
        for number, row in enumerate(rows, 1):
            if source.text not in row:
                raise CorpusError(
                    f"{where}: no column {source.text!r}; it has {sorted(row)}. Set `text` to one of them"
                )
            yield f"{where}:{number}", _text_of(row[source.text], source.text, number)
    except CorpusError:
        raise
    except Exception as error:  # of datasets, huggingface_hub, httpx, fsspec, pyarrow: they share no base
        raise CorpusError(
            f"{where}: after row {number:,}: {type(error).__name__}: {error}. {_advice(error)}"
        ) from error


def _text_of(value: object, column: str, number: int) -> str | Unreadable:
    if not isinstance(value, str):
        return Unreadable(f"no_text_under_{column}", 0, number)
    if len(value) > containers.LARGEST_RECORD:
        return Unreadable("too_large", len(value), number)
    return value


def _advice(error: Exception) -> str:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, DatasetNotFoundError):
        return "Check `name` and `revision`; a gated data set needs `hf auth login`"
    if isinstance(error, ConnectionError | OfflineModeIsEnabled):
        return (
            "The hub cannot be reached: check the network and the variables HF_HUB_OFFLINE and HF_ENDPOINT, or fetch "
            "the files elsewhere and read them with another kind of source"
        )
    return "Check `config`, `split` and `revision`, then start again"
