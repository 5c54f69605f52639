"""What the add-on and the server both speak: scene, messages, wire, client. numpy, pyzmq and msgspec only."""
