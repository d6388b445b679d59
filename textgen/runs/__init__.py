"""The contract between training and sampling: a run is one folder."""
