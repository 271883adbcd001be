EXAMPLES = ""


def run() -> None:
    "x"
