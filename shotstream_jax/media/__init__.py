"""Pictures and video files, in and out."""
