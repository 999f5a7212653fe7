"""A Cloud Slicer to develop against: the API over HTTP, real MP4 files, faults on demand."""
