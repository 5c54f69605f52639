"""Reports of the sample objects, as pictures for the documentation."""
