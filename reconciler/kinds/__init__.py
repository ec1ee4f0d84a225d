"""The kinds of object that manifests describe: one folder a kind, one row a kind."""
