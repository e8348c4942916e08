<?php

declare(strict_types=1);

if (!class_exists('HTTP_Session2_Container')) {
    require_once 'HTTP/Session2/Container.php';
}

/**
 * A container for PEAR's HTTP_Session2 that stores sessions on a sessionserver.
 *
 *     HTTP_Session2::useCookies(true);
 *     HTTP_Session2::setContainer('SessionServer', ['dsn' => 'tcp://localhost']);
 *     HTTP_Session2::start('MySession');
 *
 * Without the option dsn the container uses the DSN in session.save_path.
 */
class HTTP_Session2_Container_SessionServer extends HTTP_Session2_Container
{
    /** @var SessionServer\SaveHandler|null */
    private $handler = null;

    protected function setDefaults()
    {
        $this->options['dsn'] = null;
    }

    /**
     * Registers the save handler for PHP's sessions. PHP calls the save handler itself and not the methods below, so
     * that the server creates and validates the ids. HTTP_Session2 proposes guessable ids; strict mode, which this
     * turns on, replaces them by ids from the server.
     */
    public function set()
    {
        $this->handler = SessionServer\SaveHandler::register($this->options['dsn']);
        $this->options['dsn'] = null; // the DSN may contain a secret
    }

    public function open($save_path, $session_name)
    {
        return $this->handler()->open((string) $save_path, (string) $session_name);
    }

    public function close()
    {
        return $this->handler()->close();
    }

    public function read($id)
    {
        return $this->handler()->read($id);
    }

    public function write($id, $data)
    {
        return $this->handler()->write($id, $data);
    }

    public function destroy($id)
    {
        return $this->handler()->destroy($id);
    }

    public function gc($maxlifetime)
    {
        return true; // the server removes expired sessions
    }

    public function replicate($target, $id = null)
    {
        throw new BadMethodCallException('sessionserver: sessions are not replicated, all web servers share them');
    }

    /** @return SessionServer\SaveHandler */
    private function handler()
    {
        return $this->handler ??= new SessionServer\SaveHandler($this->options['dsn']);
    }
}
