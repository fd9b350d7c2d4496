"""Text of a request into statements: split, parameters by position named, what sqlglot cannot parse taken apart."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented

# What it cannot parse is refused here with an error; it need not warn as well.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
DIALECT = sqlglot.Dialect.get_or_raise("bigquery")


@dataclass(frozen=True)
class Statement:
    """One statement: its text and its tokens (their offsets are into `text`)."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def words(self) -> list[str]:
        """The tokens in upper case."""
        return [t.text.upper() for t in self.tokens]

    def after(self, token: Token) -> str:
        """Return the text that follows a token."""
        return self.text[token.end + 1 :].strip()


def split(text: str) -> list[Statement]:
    """Return the statements of a script.

    Raises ApiError 400 for text without one, or that is no SQL.
    """
    text = _named_positions(text)
    tokens = _tokens(text)
    if tokens and all(t.token_type != TokenType.SEMICOLON for t in tokens):
        return [Statement(text, tuple(tokens))]
    out: list[Statement] = []
    start = 0
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            _append(out, text[start : token.start])
            start = token.end + 1
    _append(out, text[start:])
    if not out:
        raise invalid_query("Syntax error: Unexpected end of statement")
    return out


def _append(out: list[Statement], text: str) -> None:
    tokens = _tokens(text)
    if tokens:
        out.append(Statement(text, tuple(tokens)))


def _tokens(text: str) -> list[Token]:
    try:
        return list(DIALECT.tokenize(text))
    except sqlglot.errors.SqlglotError as error:
        raise invalid_query(f"Syntax error: {_first_line(error)}") from error


def _named_positions(text: str) -> str:
    """Return the text with each ``?`` as ``@_1``, ``@_2``: trees do not keep the order of positions."""
    if "?" not in text:
        return text
    out, last, count = [], 0, 0
    for token in _tokens(text):
        if token.token_type == TokenType.PLACEHOLDER:
            count += 1
            out += [text[last : token.start], f"@_{count}"]
            last = token.end + 1
    return "".join([*out, text[last:]])


def parse_statement(text: str) -> exp.Expression:
    """Parse one statement.

    Raises ApiError 400 for a syntax error, 501 for what sqlglot does not know.
    """
    try:
        tree: Any = sqlglot.parse_one(text, read="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.SqlglotError as error:
        raise invalid_query(f"Syntax error: {_first_line(error)}") from error
    if isinstance(tree, (exp.Command, exp.Alias, exp.Column)):
        # sqlglot takes `SELEC 1` for an expression with an alias, and what it cannot parse for a command.
        if isinstance(tree, exp.Command):
            raise not_implemented(f"The statement {text.strip()[:80]}")
        raise invalid_query(f"Syntax error: Unexpected identifier in {text.strip()[:80]}")
    parsed: exp.Expression = tree
    return parsed


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[\d*m", "", str(error)).split("\n")[0][:300]
