<?php

declare(strict_types=1);

if (!class_exists('HTTP_Session2_Container')) {
    require_once 'HTTP/Session2/Container.php';
}

/**
 * A container for PEAR's HTTP_Session2 that keeps sessions on a sessionserver.
 *
 *     HTTP_Session2::useCookies(true);
 *     HTTP_Session2::setContainer('SessionServer', ['dsn' => 'tcp://localhost']);
 *     HTTP_Session2::start('MySession');
 *
 * Without the option dsn it is what session.save_path says.
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
     * Takes over the sessions of PHP. PHP gets the save handler itself and not the methods below: only so does it ask for
     * ids, and tell new ids from old ones. HTTP_Session2 proposes ids that can be guessed; in strict mode, which is
     * turned on here, they are replaced by those of the server.
     */
    public function set()
    {
        $this->handler = SessionServer\SaveHandler::register($this->options['dsn']);
        $this->options['dsn'] = null; // it may hold a secret
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
        return true; // the server does it
    }

    public function replicate($target, $id = null)
    {
        throw new BadMethodCallException('sessionserver: sessions are not replicated: all web servers use the same one');
    }

    /** @return SessionServer\SaveHandler */
    private function handler()
    {
        return $this->handler ??= new SessionServer\SaveHandler($this->options['dsn']);
    }
}
