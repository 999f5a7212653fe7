"""Console: the operator's page, in a browser, behind a login."""
