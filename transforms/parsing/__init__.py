"""Records of any shape become readings."""
