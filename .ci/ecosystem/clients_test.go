package ecosystem

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	xoauth2 "golang.org/x/oauth2"
	"google.golang.org/api/calendar/v3"
	"google.golang.org/api/drive/v3"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/oauth2"
)

// googleAPIs are parts of Calendar, Drive and Cloud Storage, at the addresses that their clients have.
func googleAPIs() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET www.googleapis.com/calendar/v3/users/me/calendarList", says(`{"items":[{"id":"team"}]}`))
	mux.HandleFunc("POST www.googleapis.com/calendar/v3/calendars/team/events", says(`{"id":"e1"}`))
	mux.HandleFunc("GET www.googleapis.com/drive/v3/files", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("pageToken") == "" {
			says(`{"files":[{"id":"f1"}],"nextPageToken":"2"}`)(w, r)
			return
		}
		says(`{"files":[{"id":"f2"}]}`)(w, r)
	})
	mux.HandleFunc("POST www.googleapis.com/upload/drive/v3/files", says(`{"id":"f3"}`))
	mux.HandleFunc("GET storage.googleapis.com/storage/v1/b/bucket", says(`{"name":"bucket"}`))
	mux.HandleFunc("POST storage.googleapis.com/upload/storage/v1/b/bucket/o", says(`{"name":"object"}`))
	mux.HandleFunc("GET storage.googleapis.com/bucket/object", says("content"))
	return mux
}

// useCalendar makes 2 requests.
func useCalendar(t *testing.T, service *calendar.Service, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	list, err := service.CalendarList.List().Context(t.Context()).Do()
	if err != nil || len(list.Items) != 1 || list.Items[0].Id != "team" {
		t.Errorf("calendars: %v, %v", list, err)
	}
	event, err := service.Events.Insert("team", &calendar.Event{Summary: "lunch"}).Context(t.Context()).Do()
	if err != nil || event.Id != "e1" {
		t.Errorf("insert: %v, %v", event, err)
	}
}

// useDrive makes 3 requests.
func useDrive(t *testing.T, service *drive.Service, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	files := ""
	err = service.Files.List().Pages(t.Context(), func(page *drive.FileList) error {
		for _, f := range page.Files {
			files += f.Id + " "
		}
		return nil
	})
	if err != nil || files != "f1 f2 " {
		t.Errorf("files: %q, %v", files, err)
	}
	upload := service.Files.Create(&drive.File{Name: "new"}).Media(strings.NewReader("content"))
	file, err := upload.Context(t.Context()).Do()
	if err != nil || file.Id != "f3" {
		t.Errorf("upload: %v, %v", file, err)
	}
}

// useStorage makes 3 requests.
func useStorage(t *testing.T, client *storage.Client, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	bucket := client.Bucket("bucket")
	attrs, err := bucket.Attrs(t.Context())
	if err != nil || attrs.Name != "bucket" {
		t.Errorf("bucket: %v, %v", attrs, err)
	}
	w := bucket.Object("object").NewWriter(t.Context())
	io.WriteString(w, "content")
	if err := w.Close(); err != nil {
		t.Errorf("write: %v", err)
	}
	r, err := bucket.Object("object").NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "content" {
		t.Errorf("read: %q, %v", data, err)
	}
}

// Calendar, Drive and Cloud Storage with the package's HTTP client.
func TestGoogle(t *testing.T) {
	i := newIssuer(t)
	cloud(t, i.guard(googleAPIs()))
	creds := i.credentials()
	events, err := newCalendar(t.Context(), creds)
	useCalendar(t, events, err)
	files, err := newDrive(t.Context(), creds)
	useDrive(t, files, err)
	buckets, err := newStorage(t.Context(), creds)
	useStorage(t, buckets, err)
	i.wantOnce(t, 8)

	events, err = newCalendar(t.Context(), signedOut(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = events.CalendarList.List().Context(t.Context()).Do()
	wantLogin(t, err)
}

// The same clients with the credentials of cloud.google.com/go/auth. Each has its own, which have a cache of their own.
func TestTokenProvider(t *testing.T) {
	i := newIssuer(t)
	cloud(t, i.guard(googleAPIs()))
	creds := i.credentials()
	events, err := calendar.NewService(t.Context(), withTokens(creds))
	useCalendar(t, events, err)
	files, err := drive.NewService(t.Context(), withTokens(creds))
	useDrive(t, files, err)
	buckets, err := storage.NewClient(t.Context(), withTokens(creds))
	useStorage(t, buckets, err)
	i.wantOnce(t, 8)

	files, err = drive.NewService(t.Context(), withTokens(signedOut(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = files.Files.List().Context(t.Context()).Do()
	wantLogin(t, err)
}

// What takes a source of golang.org/x/oauth2: its own HTTP client, and older options of Google's clients.
func TestTokenSource(t *testing.T) {
	i := newIssuer(t)
	cloud(t, i.guard(googleAPIs()))
	src := tokenSource{i.credentials()}
	for range 3 {
		const url = "https://www.googleapis.com/drive/v3/files"
		resp, err := xoauth2.NewClient(t.Context(), src).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
	events, err := calendar.NewService(t.Context(), option.WithTokenSource(src))
	useCalendar(t, events, err)
	i.wantOnce(t, 5)

	_, err = xoauth2.NewClient(t.Context(), tokenSource{signedOut(t)}).Get("https://www.googleapis.com/")
	wantLogin(t, err)
}

// A client of Azure's Key Vault, which a program signs in to as itself: with client credentials. The vault names the
// scope that it wants, in its answer to a first request without a token.
func TestAzure(t *testing.T) {
	const vault, scope = "https://app.vault.azure.net/", "https://vault.azure.net/.default"
	i := newIssuer(t)
	mux := http.NewServeMux()
	mux.Handle("GET app.vault.azure.net/secrets/name/", i.guard(says(`{"value":"content"}`)))
	cloud(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.example.com/tenant", scope="`+scope+`"`)
		mux.ServeHTTP(w, r)
	}))
	src := &oauth2.ClientCredentials{Client: i.client, Scopes: []string{scope}}
	get := func(cred azureCredential) error {
		client, err := azsecrets.NewClient(vault, cred, &azsecrets.ClientOptions{ClientOptions: policy.ClientOptions{
			Transport: http.DefaultClient, // azcore has one of its own, which would leave this machine
			Retry:     policy.RetryOptions{MaxRetries: -1},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			resp, err := client.GetSecret(t.Context(), "name", "", nil)
			if err != nil {
				return err
			}
			if resp.Value == nil || *resp.Value != "content" {
				t.Errorf("the vault answered %v", resp.Value)
			}
		}
		return nil
	}
	for range 2 { // each client of azcore has a cache of its own
		if err := get(azureCredential{src, scope}); err != nil {
			t.Error(err)
		}
	}
	i.wantOnce(t, 4)

	err := get(azureCredential{src, "https://storage.azure.com/.default"})
	if err == nil || !strings.Contains(err.Error(), "no token for") {
		t.Errorf("another scope: %v", err)
	}
	wantLogin(t, get(azureCredential{signedOut(t), scope}))
}

// A gRPC client, and its calls and streams.
func TestGRPC(t *testing.T) {
	i := newIssuer(t)
	certificate, roots := newCertificate(t)
	allowed := func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if values := md.Get("authorization"); len(values) != 1 || !i.accepts(values[0]) {
			return status.Error(codes.Unauthenticated, "no token")
		}
		return nil
	}
	s := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&certificate)),
		grpc.UnaryInterceptor(func(
			ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler,
		) (any, error) {
			if err := allowed(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(
			srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler,
		) error {
			if err := allowed(stream.Context()); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)

	dial := func(src oauth2.TokenSource) grpc_health_v1.HealthClient {
		t.Helper()
		conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(),
			grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "")),
			grpc.WithPerRPCCredentials(rpcCredentials{src}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return grpc_health_v1.NewHealthClient(conn)
	}
	client := dial(i.credentials())
	for range 3 {
		if _, err := client.Check(t.Context(), nil); err != nil {
			t.Errorf("call: %v", err)
		}
	}
	stream, err := client.Watch(t.Context(), nil)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Errorf("stream: %v", err)
	}
	i.wantOnce(t, 4)

	_, err = dial(signedOut(t)).Check(t.Context(), nil)
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "sign in again") {
		t.Errorf("without a sign-in: %v", err)
	}
	// A connection without TLS gets no token.
	if _, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(rpcCredentials{signedOut(t)})); err == nil {
		t.Error("a connection without TLS")
	}
}
