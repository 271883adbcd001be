"""`python -m wfd.worker --fd N`."""

from wfd.worker.main import main

main()
