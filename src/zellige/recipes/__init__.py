"""Training runs as YAML files, `<system>/<size>.yaml`."""
