"""One module a family of official classes; each registers its handlers with `runner.handler`."""
