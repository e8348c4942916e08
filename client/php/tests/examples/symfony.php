<?php

require getenv('PACKAGE') . '/autoload.php';
require '/usr/share/php/Symfony/Component/HttpFoundation/autoload.php';
putenv('SESSION_DSN=tcp://localhost');

use SessionServer\SaveHandler;
use Symfony\Component\HttpFoundation\Session\Session;
use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;

$session = new Session(new NativeSessionStorage([], new SaveHandler(getenv('SESSION_DSN'))));

$session->set('n', 1);
echo $session->get('n');
$session->save();
