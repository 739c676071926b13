module example.com/oauth2

go 1.25
