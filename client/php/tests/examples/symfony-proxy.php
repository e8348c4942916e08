<?php

require getenv('PACKAGE') . '/autoload.php';
require '/usr/share/php/Symfony/Component/HttpFoundation/autoload.php';
putenv('SESSION_DSN=tcp://localhost');

use SessionServer\SaveHandler;
use Symfony\Component\HttpFoundation\Session\Session;
use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;
use Symfony\Component\HttpFoundation\Session\Storage\Proxy\AbstractProxy;

final class SessionProxy extends AbstractProxy
{
    public function __construct(#[\SensitiveParameter] string $dsn)
    {
        SaveHandler::register($dsn);
    }
}

$session = new Session(new NativeSessionStorage([], new SessionProxy(getenv('SESSION_DSN'))));

$session->set('n', 1);
echo $session->get('n');
$session->save();
