"""Classes and sets that are large: how much memory and time a fit takes beyond the embeddings."""
