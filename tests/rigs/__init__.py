"""Real servers, workers and processes that tests run on."""
