"""The self-test: every kernel against its plain definition, on whatever machine it is to run."""
