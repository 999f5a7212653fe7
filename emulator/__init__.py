"""A Cloud Slicer to develop and test against: the API over HTTP, real MP4 files, faults on demand."""
