<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * PHP's built-in web server with router.php.
 */
final class WebServer
{
    private readonly Child $process;
    private readonly string $address;
    private readonly string $log;
    public string $headers = ''; // of the last response

    public function __construct(string $dsn)
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $this->address = stream_socket_get_name($socket, false);
        fclose($socket);
        $this->log = tempnam(sys_get_temp_dir(), 'web');
        $this->process = new Child(['php', '-d', "session.save_path=\"$dsn\"", '-d', 'display_errors=1',
            '-d', 'html_errors=0', '-d', 'log_errors=0', '-d', 'output_buffering=65536',
            '-S', $this->address, __DIR__ . '/router.php'], $this->log);
        $this->process->awaitLog('/Development Server .* started/');
    }

    /** Runs code in a request and returns its output. */
    public function run(string $code, string $cookie = ''): string
    {
        $cookieHeader = $cookie === '' ? '' : "Cookie: PHPSESSID=$cookie\r\n";
        $body = file_get_contents("http://$this->address/", false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => "Content-Type: text/plain\r\nConnection: close\r\n$cookieHeader",
            'content' => $code,
            'ignore_errors' => true,
            'timeout' => 60,
        ]]));
        $this->headers = implode("\n", $http_response_header);
        return (string) $body;
    }

    /** Runs code in a request and returns its result. */
    public function evaluate(string $code, string $cookie = ''): mixed
    {
        $body = $this->run($code, $cookie);
        try {
            return json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        } catch (\JsonException) {
            throw new \RuntimeException("invalid response of the web server: $body");
        }
    }

    public function __destruct()
    {
        $this->process->kill();
        unlink($this->log);
    }
}
