"""How the embedded world's model is made: corpus, demonstrations, pre-training, probe."""
