"""What an error says: the facts, not the sentence around them."""


def assert_says(error, *facts):
    """The text of an error, or of what `pytest.raises` caught, holds each fact: row, column, wanted, got, remedy."""
    text = str(getattr(error, "value", error))
    missing = [fact for fact in map(str, facts) if fact not in text]
    assert not missing, f"{missing} in: {text}"
