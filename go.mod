module sessionserver

go 1.26
