"""The connlimit list that grows: nf_conncount.ko as it was before its collection was mended."""
