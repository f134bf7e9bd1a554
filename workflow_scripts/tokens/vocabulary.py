"""What a tokenizer's vocabulary says: the length of every token, the end of a text, the width of an id."""

from __future__ import annotations

import json

import numpy as np
from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"


def end_of_text_of(tokenizer: Tokenizer) -> int:
    """The id that stands between documents: 0 in our vocabularies, the last one in GPT-2's."""
    return tokenizer.token_to_id(END_OF_TEXT)


def token_dtype(tokenizer: Tokenizer) -> np.dtype:
    """The narrowest type of an id in a token file."""
    return np.dtype("<u2" if tokenizer.get_vocab_size() <= 2**16 else "<u4")


def for_plain_text(tokenizer_json: str) -> str:
    """The same tokenizer without special tokens: a literal `<|endoftext|>` in a text is encoded as its bytes."""
    return json.dumps(json.loads(tokenizer_json) | {"added_tokens": []}, ensure_ascii=False)


def token_lengths(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Of each id, its bytes and the characters that begin in it (its bytes that are not UTF-8 continuations).

    Summed over any prefix of the tokens of a text, they count the bytes in it and the characters begun in it.  A
    special token is no text: 0 and 0.
    """
    byte_of = _byte_of_character()
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    n_bytes, n_characters = [], []
    for number in range(tokenizer.get_vocab_size()):
        token = tokenizer.id_to_token(number)
        content = [] if token in special else [byte_of[character] for character in token]
        n_bytes.append(len(content))
        n_characters.append(sum(byte & 0xC0 != 0x80 for byte in content))
    return n_bytes, n_characters


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table of printable characters that stand for bytes (`bytes_to_unicode` in its encoder.py), inverted."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
