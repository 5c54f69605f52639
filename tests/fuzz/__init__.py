"""Messages that no client would send, sent to a real server, while another client looks whether it still answers."""
