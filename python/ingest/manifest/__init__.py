"""What the archive says of itself: manifests in Parquet beside the media, and questions to them."""
