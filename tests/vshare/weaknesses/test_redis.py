from __future__ import annotations

import asyncio
import shutil

import pytest

from tests.vshare.weaknesses.servers import ask_port, hear, redis_server
from vshare.weaknesses import redis
from vshare.weaknesses.danger import SOUND, WEAK

pytestmark = pytest.mark.programs

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no Redis is installed"
)


@needs_redis
def test_a_redis_without_a_password_is_weak() -> None:
    with redis_server() as port:
        assert asyncio.run(ask_port(port, redis.converse)) == WEAK


@needs_redis
def test_a_redis_with_a_password_is_sound() -> None:
    with redis_server("--requirepass", "sesame") as port:
        assert asyncio.run(ask_port(port, redis.converse)) == SOUND


@pytest.mark.parametrize(
    "answer",
    [
        b"-NOAUTH Authentication required.\r\n",
        b"-DENIED Redis is running in protected mode because ...\r\n",
        b"-NOPERM this user has no permissions to run the 'ping' command\r\n",
    ],
)
def test_refusals_are_sound(answer: bytes) -> None:
    assert hear(redis.converse, answer) == SOUND
    assert hear(redis.converse, answer, 1) == SOUND


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"\n"])
def test_other_answers_are_noted(answer: bytes) -> None:
    verdict = hear(redis.converse, answer)
    assert verdict is not None
    assert not verdict.weak
    assert "Redis" in verdict.note
