from fuzz.mutate import hunt

SOUND = b"\x81\xa1v\x01"


def test_reader_that_raises_is_found_with_its_message() -> None:
    def refuse(message: bytes) -> None:
        if message != SOUND:
            raise KeyError("v")

    tried, findings = hunt([(refuse, [SOUND])], 0.2, 1)
    assert tried >= len(findings) > 0
    assert "KeyError" in findings[0]
    assert hunt([(refuse, [SOUND])], 0.0, 3)[1] == hunt([(refuse, [SOUND])], 0.0, 3)[1]
