<?php

require getenv('PACKAGE') . '/autoload.php';
foreach (['Session', 'Container', 'Config', 'Support'] as $component) {
    require "/usr/share/php/Illuminate/$component/autoload.php";
}

use Illuminate\Support\Facades\Session;
use SessionServer\SaveHandler;

class AppServiceProvider
{
    public function boot(): void
    {
        Session::extend('sessionserver', fn ($app) => new SaveHandler($app['config']['session.dsn']));
    }
}

$app = new Illuminate\Container\Container();
$config = ['driver' => 'sessionserver', 'dsn' => 'tcp://localhost', 'cookie' => 's'];
$app->instance('config', new Illuminate\Config\Repository(['session' => $config]));
$app->instance('session', new Illuminate\Session\SessionManager($app));
Illuminate\Support\Facades\Facade::setFacadeApplication($app);
(new AppServiceProvider())->boot();

$store = $app['session']->driver();
$store->start();
$store->put('n', 1);
$store->save();
echo $store->get('n');
