"""Run folders, the contract between training and sampling."""
